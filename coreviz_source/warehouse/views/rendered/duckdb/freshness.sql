SELECT
  "r"."dataset_id",
  "d"."name" AS "dataset_name",
  "r"."last_run_at",
  "p"."outcome" AS "last_outcome",
  "p"."message" AS "last_message",
  "r"."last_listed_at",
  "r"."last_complete_at",
  DATE_DIFF('MICROSECOND', "r"."last_listed_at", CURRENT_TIMESTAMP) / 3600e6 AS "hours_since_listed",
  DATE_DIFF('MICROSECOND', "r"."last_complete_at", CURRENT_TIMESTAMP) / 3600e6 AS "hours_since_complete",
  "r"."runs",
  "r"."failed_runs",
  COALESCE("n"."media", 0) AS "media",
  "d"."media_total"
FROM (
  SELECT
    "s"."dataset_id",
    MAX("s"."started_at") AS "last_run_at",
    MAX(CASE WHEN "s"."outcome" IN ('complete', 'window') THEN "s"."started_at" END) AS "last_listed_at",
    MAX(CASE WHEN "s"."outcome" = 'complete' THEN "s"."started_at" END) AS "last_complete_at",
    COUNT(*) AS "runs",
    COUNT(CASE WHEN "s"."outcome" = 'failed' THEN 1 END) AS "failed_runs"
  FROM "{_coreviz_runs}" AS "s"
  JOIN "{_dlt_loads}" AS "l"
    ON "l"."load_id" = "s"."_dlt_load_id" AND "l"."status" = 0
  GROUP BY
    "s"."dataset_id"
) AS "r"
JOIN (
  SELECT
    "s"."dataset_id",
    "s"."outcome",
    "s"."message",
    ROW_NUMBER() OVER (
      PARTITION BY "s"."dataset_id"
      ORDER BY "s"."started_at" DESC, "s"."_dlt_load_id" DESC
    ) AS "place"
  FROM "{_coreviz_runs}" AS "s"
  JOIN "{_dlt_loads}" AS "l"
    ON "l"."load_id" = "s"."_dlt_load_id" AND "l"."status" = 0
) AS "p"
  ON "p"."dataset_id" = "r"."dataset_id" AND "p"."place" = 1
LEFT JOIN (
  SELECT
    "dataset_id",
    COUNT(*) AS "media"
  FROM "{media}"
  WHERE
    "deleted_at" IS NULL
  GROUP BY
    "dataset_id"
) AS "n"
  ON "n"."dataset_id" = "r"."dataset_id"
LEFT JOIN "{datasets}" AS "d"
  ON "d"."id" = "r"."dataset_id"
