"""What others call our fields. Blanks, marks and capitals do not count: `Unit Price` is `unit_price`."""

import re

FIELDS = (
    "sku", "name", "price", "currency", "description", "brand", "category_path", "image_urls", "stock",
    "active",
)  # fmt: skip
_MARKS = re.compile(r"[\s_\-./:]+")
# In the order of trust. No number of rows is a sku: `id` is one only under a supplier's name.
SYNONYMS = {
    "sku": ("sku", "seller_sku", "product_sku", "item_sku", "article_number", "artikelnummer", "art_nr",
            "stock_code", "item_number", "part_number", "product_code", "item_code"),
    "name": ("name", "title", "product_name", "product_title", "item_name", "produktname", "bezeichnung",
             "display_name"),
    "price": ("price", "unit_price", "sale_price", "selling_price", "discounted_price", "discount_price",
              "current_price", "item_price", "preis", "price_incl_vat", "verkaufspreis"),
    "currency": ("currency", "currency_code", "price_currency", "waehrung", "währung"),
    "description": ("description", "short_description", "product_description", "long_description",
                    "about_product", "beschreibung", "body_html", "details"),
    "brand": ("brand", "manufacturer", "brand_name", "manufacturer_name", "vendor", "marke", "hersteller"),
    "category_path": ("category_path", "categories", "category", "product_category", "product_type",
                      "department", "kategorie", "main_category"),
    "image_urls": ("image_urls", "image_url", "image", "images", "image_link", "img_link", "picture",
                   "image_src", "main_image", "bild"),
    "stock": ("stock", "initial_quantity", "quantity", "qty", "stock_quantity", "inventory", "bestand",
              "quantity_on_hand", "in_stock"),
    "active": ("active", "is_active"),
}  # fmt: skip
# What numbers the rows of one supplier, and is no sku without its name.
IDENTITIES = (
    "id", "product_id", "item_id", "asin", "ean", "gtin", "upc", "barcode", "item_barcode", "uniq_id",
    "handle", "reference", "ref", "code", "nr", "no", "key",
)  # fmt: skip


def normalised(name: str) -> str:
    """Return what two spellings of a column's name have in common."""
    return _MARKS.sub("", name).casefold()
