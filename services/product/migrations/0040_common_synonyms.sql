-- What shops mostly call by another word than those who look for it. A merchant takes away what does not suit.
-- In one direction: a laptop is a notebook, but a notebook may be of paper.
SET LOCAL lock_timeout = '1s';

INSERT INTO search_synonyms (word, synonym)
VALUES ('laptop', 'notebook'),
       ('tv', 'television'),
       ('television', 'tv'),
       ('earphone', 'earbud'),
       ('earbud', 'earphone'),
       ('cellphone', 'smartphone'),
       ('handset', 'phone'),
       ('fridge', 'refrigerator'),
       ('hoover', 'vacuum cleaner'),
       ('sofa', 'couch'),
       ('couch', 'sofa'),
       ('sneaker', 'trainer'),
       ('trainer', 'sneaker'),
       ('bike', 'bicycle'),
       ('rucksack', 'backpack'),
       ('torch', 'flashlight'),
       ('hdd', 'hard drive'),
       ('pendrive', 'flash drive')
    ON CONFLICT ON CONSTRAINT search_synonyms_pkey DO NOTHING;
