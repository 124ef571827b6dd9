-- What a parcel costs by its weight.

CREATE TABLE rates (
    up_to_grams bigint        NOT NULL,
    price       numeric(19,9) NOT NULL,
    currency    text          NOT NULL,
    CONSTRAINT rates_pkey PRIMARY KEY (up_to_grams),
    CONSTRAINT rates_up_to_grams_check CHECK (up_to_grams > 0),
    CONSTRAINT rates_price_check CHECK (price >= 0),
    CONSTRAINT rates_currency_check CHECK (currency ~ '^[A-Z]{3}$')
);

INSERT INTO rates (up_to_grams, price, currency)
VALUES (1000, 4.50, 'EUR'), (5000, 6.90, 'EUR'), (31500, 16.90, 'EUR');

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON rates TO %I', current_database() || '_app');
END
$$;
