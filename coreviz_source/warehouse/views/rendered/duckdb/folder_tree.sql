WITH RECURSIVE "folder_from_top" AS (
  SELECT
    "f"."dataset_id",
    "f"."id",
    CAST(COALESCE("f"."name", "f"."id") AS TEXT) AS "full_name",
    1 AS "depth"
  FROM "{folders}" AS "f"
  LEFT JOIN "{folders}" AS "above"
    ON "above"."dataset_id" = "f"."dataset_id" AND "above"."id" = "f"."parent_id"
  WHERE
    "above"."id" IS NULL
  UNION ALL
  SELECT
    "f"."dataset_id",
    "f"."id",
    CAST("t"."full_name" || '/' || COALESCE("f"."name", "f"."id") AS TEXT) AS "full_name",
    "t"."depth" + 1 AS "depth"
  FROM "folder_from_top" AS "t"
  JOIN "{folders}" AS "f"
    ON "f"."dataset_id" = "t"."dataset_id" AND "f"."parent_id" = "t"."id"
  WHERE
    "t"."depth" < 400
)
SELECT
  "f"."dataset_id",
  "d"."name" AS "dataset_name",
  "f"."id",
  "f"."name",
  "f"."parent_id",
  COALESCE("t"."full_name", "f"."name", "f"."id") AS "full_name",
  COALESCE("t"."depth", 1) AS "depth"
FROM "{folders}" AS "f"
LEFT JOIN "folder_from_top" AS "t"
  ON "t"."dataset_id" = "f"."dataset_id" AND "t"."id" = "f"."id"
LEFT JOIN "{datasets}" AS "d"
  ON "d"."id" = "f"."dataset_id"
