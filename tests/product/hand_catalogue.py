"""A small catalogue of our own, and what people type to find things in it."""

# sku | name | brand | description
CATALOGUE = """
PR-1 | Brother HL-2270DW LaserJet-class mono printer | Brother | Prints both sides, in a wireless network.
PR-2 | HP LaserJet 1020 printer | HP | Small printer for one desk.
PR-3 | HP DeskJet 2710 inkjet printer | HP | Colour printer with a scanner.
TN-1 | Toner cartridge for HL-2270DW printer, black | Brother | Lasts 2,600 pages.
TN-2 | Toner cartridge Q2612A for HP LaserJet printer | HP | Black toner.
LP-1 | ThinkPad T14 laptop 14 inch | Lenovo | Business notebook computer with 16 GB of memory.
LP-2 | Aspire 5 laptop 15.6 inch silver | Acer | Everyday notebook for home.
LP-3 | Travel laptop 11 inch | Medion | Light laptop with a touch screen.
LA-1 | Laptop bag 15.6 inch, grey | Targus | Padded bag with a shoulder strap.
LA-2 | Laptop stand, aluminium | Nulaxy | Lifts a laptop to eye height.
LA-3 | Charger for laptop, 65 W USB-C | Anker | Power supply with a 2 m cable.
LA-4 | Laptop sleeve 14 inch | Targus | Neoprene cover.
HP-1 | Wireless headphones over-ear, black | Sony | Noise cancelling Bluetooth headphones.
HP-2 | In-ear headphones with cable | Panasonic | Earphones with three sizes of tips.
HP-3 | Headphone stand of walnut | Grovemade | Holds one pair.
HS-1 | Bluetooth headset for calls | Jabra | Mono headset with a microphone.
PH-1 | iPhone 7 smartphone 32 GB | Apple | Phone with a 4.7 inch screen.
PH-2 | Galaxy S21 smartphone 128 GB | Samsung | Phone with three cameras.
PC-1 | Case for iPhone 7, clear | Spigen | Protects the back and the edges.
PC-2 | Screen protector for iPhone 7 | Spigen | Tempered glass.
PC-3 | Phone case for Galaxy S21 | Otterbox | Hard cover.
WM-1 | Washing machine 8 kg, front loader | Bosch | 1,400 turns a minute, class A.
WM-2 | Compact washing machine 5 kg | Candy | For small bathrooms.
WA-1 | Hose for washing machine, 2 m | Xavax | Inlet hose with a stop.
WA-2 | Washing machine cleaner, 250 ml | Dr Beckmann | Removes lime and smells.
CF-1 | Coffee machine with grinder | De'Longhi | Fully automatic, for espresso.
CF-2 | Café au lait cups, set of four | Villeroy | Porcelain cups for milk coffee.
CF-3 | Coffee filter paper no. 4, 80 pieces | Melitta | For drip coffee makers.
CF-4 | Moka pot for espresso, 6 cups | Bialetti | For the stove.
TV-1 | 55 inch television 4K OLED | LG | Smart TV with HDR.
TV-2 | Wall mount for television up to 65 inch | Vogel's | Tilts by 15 degrees.
KB-1 | Mechanical keyboard, German layout | Cherry | With red switches.
KB-2 | Keyboard cover, silicone | Moko | Keeps dust away.
MS-1 | Optical mouse, USB | Logitech | Three buttons.
MS-2 | Mouse pad, large | SteelSeries | Cloth surface.
BT-1 | AA alkaline batteries, pack of 8 | Varta | 1.5 V cells.
BT-2 | AAA alkaline batteries, pack of 8 | Varta | 1.5 V cells.
RS-1 | Chip resistor 10kΩ 1% 0603 | Yageo | Thick film, 100 mW.
RS-2 | Chip resistor 10kΩ 5% 0805 | Yageo | Thick film, 125 mW.
RS-3 | Chip resistor 100Ω 1% 0603 | Vishay | Thick film, 100 mW.
CP-1 | Capacitor 10µF 16V 0805 | Murata | Ceramic X5R.
CN-1 | Pin header 2.54mm 40 pins | Würth | Straight, gold plated.
BK-1 | The Who: the official history | Virgin | A band's story.
BK-2 | Colouring book with animals | Edding | 48 pages for children.
BI-1 | Children's bicycle 16 inch, red | Puky | With training wheels.
BI-2 | Bicycle pump with gauge | SKS | For all valves.
SH-1 | Running shoes for women, blue | Asics | Cushioned road shoe.
SH-2 | Men's leather shoes, brown | Clarks | Laced shoe.
LM-1 | Desk lamp with dimmer | Ikea | LED light of 5 W.
LM-2 | Replacement bulb for desk lamp | Osram | E14 LED bulb.
TS-1 | T-shirt of organic cotton, white | Stanley | Round neck.
WF-1 | Wi-Fi router dual band | AVM | With four LAN ports.
CM-1 | Digital camera 24 megapixels | Canon | Compact camera with zoom.
CM-2 | Camera bag for digital camera | Lowepro | With a rain cover.
CM-3 | Tripod for camera, 160 cm | Manfrotto | Aluminium legs.
""".strip()

# What is typed, and what must be among the first five, the first of it in front.
QUERIES = """
HL-2270DW: PR-1
HL2270DW: PR-1
hl 2270dw: PR-1
2270dw: PR-1
laser jet: PR-2
laserjet: PR-2
LaserJet printer: PR-2
desk jet: PR-3
brother printer: PR-1
toner hl2270dw: TN-1
toner for hp laserjet: TN-2
printer: PR-2 PR-3 PR-1
laptop: LP-3 LP-2 LP-1
laptops: LP-3 LP-2 LP-1
notebook: LP-2 LP-1
laptop bag: LA-1
laptop charger: LA-3
laptop sleeve: LA-4
lenovo laptop: LP-1
labtop: LP-3 LP-2 LP-1
laptop 14 inch: LP-1
head phones: HP-1 HP-2
headphones: HP-1 HP-2
headphone: HP-1 HP-2
wireless headphones: HP-1
wireles headphons: HP-1
bluetooth headset: HS-1
sony: HP-1
iphone 7: PH-1 PC-1 PC-2
iphone7: PH-1
iphone 7 case: PC-1
smart phone: PH-1 PH-2
galaxy s21: PH-2 PC-3
galaxy s21 case: PC-3
samsung phone: PH-2
washing machine: WM-2 WM-1
washing machines: WM-2 WM-1
washing machine hose: WA-1
washing machine 8 kg: WM-1
coffee machine: CF-1
cafe: CF-2
espresso: CF-4 CF-1
coffee filter: CF-3
delonghi: CF-1
television: TV-1
tv wall mount: TV-2
oled television: TV-1
keyboard: KB-1
mechanical keybord: KB-1
mouse: MS-1
mouse pad: MS-2
aa batteries: BT-1
aaa battery: BT-2
10k ohm resistor 0603: RS-1
10kohm 0805: RS-2
100 ohm resistor: RS-3
10uF capacitor: CP-1
2.54mm header: CN-1
the who: BK-1
colouring books: BK-2
red bicycle: BI-1
kids bicycle pump: BI-2
running shoe women: SH-1
mens shoes: SH-2
desk lamp: LM-1
t shirt: TS-1
tshirt: TS-1
wifi router: WF-1
wi-fi: WF-1
digital camera: CM-1
camera bag: CM-2
wurth header: CN-1
purple elephant camera: CM-1
""".strip()
