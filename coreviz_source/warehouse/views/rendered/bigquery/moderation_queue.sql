SELECT
  `q`.`dataset_id`,
  `d`.`name` AS `dataset_name`,
  `q`.`media_id`,
  `q`.`media_name`,
  `q`.`file_name`,
  `q`.`media_type`,
  `q`.`frame_id`,
  `q`.`timestamp_seconds`,
  `q`.`blob`,
  `q`.`moderation_status`,
  COALESCE(`x`.`categories`, ARRAY<STRING>[]) AS `categories`,
  `q`.`moderated_at`,
  `q`.`created_at`
FROM (
  SELECT
    `dataset_id`,
    `id` AS `media_id`,
    `name` AS `media_name`,
    `file_name`,
    `type` AS `media_type`,
    CAST(NULL AS STRING) AS `frame_id`,
    CAST(NULL AS FLOAT64) AS `timestamp_seconds`,
    `blob`,
    `moderation_status`,
    `moderated_at`,
    `created_at`
  FROM `{media}`
  WHERE
    `deleted_at` IS NULL
    AND (
      `moderation_status` IS NULL OR `moderation_status` <> 'approved'
    )
  UNION ALL
  SELECT
    `f`.`dataset_id`,
    `f`.`media_id`,
    `m`.`name` AS `media_name`,
    `m`.`file_name`,
    `m`.`type` AS `media_type`,
    `f`.`id` AS `frame_id`,
    `f`.`timestamp_seconds`,
    `f`.`blob`,
    `f`.`moderation_status`,
    `f`.`moderated_at`,
    `f`.`created_at`
  FROM `{frames}` AS `f`
  JOIN `{media}` AS `m`
    ON `m`.`dataset_id` = `f`.`dataset_id`
    AND `m`.`id` = `f`.`media_id`
    AND `m`.`deleted_at` IS NULL
  WHERE
    `f`.`moderation_status` <> 'approved' AND COALESCE(`f`.`status`, '') <> 'deleted'
) AS `q`
LEFT JOIN (
  SELECT
    `dataset_id`,
    `media_id`,
    COALESCE(`frame_id`, '') AS `frame_id`,
    ARRAY_AGG(DISTINCT `category` ORDER BY `category`) AS `categories`
  FROM `{moderation_categories}`
  WHERE
    NOT `category` IS NULL
  GROUP BY
    `dataset_id`,
    `media_id`,
    COALESCE(`frame_id`, '')
) AS `x`
  ON `x`.`dataset_id` = `q`.`dataset_id`
  AND `x`.`media_id` = `q`.`media_id`
  AND `x`.`frame_id` = COALESCE(`q`.`frame_id`, '')
LEFT JOIN `{datasets}` AS `d`
  ON `d`.`id` = `q`.`dataset_id`
