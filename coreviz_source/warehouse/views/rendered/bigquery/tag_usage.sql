SELECT
  `t`.`dataset_id`,
  MAX(`d`.`name`) AS `dataset_name`,
  `t`.`tag_group`,
  `t`.`tag`,
  COUNT(*) AS `media`,
  CAST(COUNT(*) AS FLOAT64) / MAX(`n`.`media`) AS `media_share`,
  MIN(`m`.`created_at`) AS `first_media_at`,
  MAX(`m`.`created_at`) AS `last_media_at`
FROM `{media_tags}` AS `t`
JOIN `{media}` AS `m`
  ON `m`.`dataset_id` = `t`.`dataset_id`
  AND `m`.`id` = `t`.`media_id`
  AND `m`.`deleted_at` IS NULL
JOIN (
  SELECT
    `dataset_id`,
    COUNT(*) AS `media`
  FROM `{media}`
  WHERE
    `deleted_at` IS NULL
  GROUP BY
    `dataset_id`
) AS `n`
  ON `n`.`dataset_id` = `t`.`dataset_id`
LEFT JOIN `{datasets}` AS `d`
  ON `d`.`id` = `t`.`dataset_id`
GROUP BY
  `t`.`dataset_id`,
  `t`.`tag_group`,
  `t`.`tag`
