SELECT
  "q"."dataset_id",
  "d"."name" AS "dataset_name",
  "q"."media_id",
  "q"."media_name",
  "q"."file_name",
  "q"."media_type",
  "q"."frame_id",
  "q"."timestamp_seconds",
  "q"."page_number",
  "q"."blob",
  "q"."created_at",
  CAST(CAST(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP - "q"."created_at") * 1000000 AS BIGINT) AS DOUBLE PRECISION) / 86400e6 AS "age_days"
FROM (
  SELECT
    "m"."dataset_id",
    "m"."id" AS "media_id",
    "m"."name" AS "media_name",
    "m"."file_name",
    "m"."type" AS "media_type",
    "f"."id" AS "frame_id",
    "f"."timestamp_seconds",
    "f"."page_number",
    CASE WHEN "f"."media_id" IS NULL THEN "m"."blob" ELSE "f"."blob" END AS "blob",
    CASE WHEN "f"."media_id" IS NULL THEN "m"."created_at" ELSE "f"."created_at" END AS "created_at"
  FROM "{media}" AS "m"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "m"."dataset_id"
    AND "f"."media_id" = "m"."id"
    AND COALESCE("f"."status", '') <> 'deleted'
  LEFT JOIN "{captions}" AS "c"
    ON "c"."dataset_id" = "f"."dataset_id"
    AND "c"."media_id" = "f"."media_id"
    AND "c"."frame_id" = "f"."id"
    AND COALESCE("c"."status", '') <> 'deleted'
  WHERE
    "m"."deleted_at" IS NULL AND "c"."media_id" IS NULL
) AS "q"
LEFT JOIN "{datasets}" AS "d"
  ON "d"."id" = "q"."dataset_id"
