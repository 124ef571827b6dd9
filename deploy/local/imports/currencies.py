"""What people write beside an amount, and the currencies (ISO 4217) that it may mean."""

CODES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD
    KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
    NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD
    SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UYW UZS VED VES VND VUV
    WST XAF XCD XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905  a column of quotes hides the codes
)
_SIGNS = {
    "€": "EUR", "EURO": "EUR", "EUROS": "EUR", "£": "GBP",
    "$": "USD AUD CAD NZD SGD HKD MXN ARS CLP COP TWD BBD BMD BND BSD BZD FJD GYD JMD KYD LRD NAD SRD "
         "TTD XCD",
    "US$": "USD", "$US": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "NZ$": "NZD",
    "S$": "SGD", "HK$": "HKD", "NT$": "TWD", "MX$": "MXN", "R$": "BRL", "¥": "JPY CNY", "￥": "JPY CNY",
    "円": "JPY", "元": "CNY", "RMB": "CNY", "₹": "INR", "RS": "INR PKR LKR NPR MUR", "₪": "ILS", "NIS": "ILS",
    'ש"ח': "ILS", "ש״ח": "ILS", "₩": "KRW", "₽": "RUB", "РУБ": "RUB", "₺": "TRY", "TL": "TRY", "₴": "UAH",
    "₫": "VND", "฿": "THB", "₦": "NGN", "₱": "PHP", "ZŁ": "PLN", "ZL": "PLN", "KČ": "CZK",
    "FT": "HUF", "LEI": "RON MDL", "KR": "SEK NOK DKK ISK", "FR": "CHF", "SFR": "CHF",
    "RM": "MYR", "RP": "IDR", "ЛВ": "BGN", "R": "ZAR",
}  # fmt: skip


def currencies_of(sign: str) -> frozenset[str]:
    """Return the codes that a sign or a word may mean: of `$` many, of `€` one, of other words none."""
    word = sign.strip().upper().rstrip(".")
    if word in CODES:
        return frozenset({word})
    return frozenset(_SIGNS.get(word, "").split())
