-- In batches: the products that were there before 0011. Each is locked, so that its entry is of its last version
-- also where somebody changes it at this moment; whoever did so before has written the entry already. They are
-- locked in the order in which an import locks its products: each would wait for the other else.

INSERT INTO product_changes (active, update_time, product_id)
SELECT p.active, p.update_time, p.product_id
  FROM products p
 WHERE p.delete_time IS NULL
   AND NOT EXISTS (
        SELECT
          FROM product_changes c
         WHERE c.active = p.active AND c.update_time = p.update_time AND c.product_id = p.product_id)
 ORDER BY p.product_id
 LIMIT 5000
   FOR NO KEY UPDATE OF p
    ON CONFLICT DO NOTHING;
