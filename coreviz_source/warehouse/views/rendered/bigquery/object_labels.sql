SELECT
  `o`.`dataset_id`,
  MAX(`d`.`name`) AS `dataset_name`,
  `o`.`label`,
  CAST(TIMESTAMP_TRUNC(TIMESTAMP(DATETIME(`m`.`created_at`, 'UTC')), MONTH) AS DATE) AS `month`,
  COUNT(*) AS `objects`,
  COUNT(DISTINCT `o`.`frame_id`) AS `frames`,
  COUNT(DISTINCT `o`.`media_id`) AS `media`
FROM `{objects}` AS `o`
JOIN `{media}` AS `m`
  ON `m`.`dataset_id` = `o`.`dataset_id`
  AND `m`.`id` = `o`.`media_id`
  AND `m`.`deleted_at` IS NULL
LEFT JOIN `{frames}` AS `f`
  ON `f`.`dataset_id` = `o`.`dataset_id`
  AND `f`.`media_id` = `o`.`media_id`
  AND `f`.`id` = `o`.`frame_id`
LEFT JOIN `{datasets}` AS `d`
  ON `d`.`id` = `o`.`dataset_id`
WHERE
  COALESCE(`o`.`status`, '') <> 'deleted'
  AND COALESCE(`f`.`status`, '') <> 'deleted'
GROUP BY
  `o`.`dataset_id`,
  `o`.`label`,
  CAST(TIMESTAMP_TRUNC(TIMESTAMP(DATETIME(`m`.`created_at`, 'UTC')), MONTH) AS DATE)
