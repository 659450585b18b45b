SELECT
  `o`.`dataset_id`,
  `d`.`name` AS `dataset_name`,
  `o`.`media_id`,
  `m`.`name` AS `media_name`,
  `m`.`file_name`,
  `m`.`type` AS `media_type`,
  `o`.`frame_id`,
  `f`.`timestamp_seconds`,
  `f`.`page_number`,
  `f`.`blob` AS `frame_blob`,
  `f`.`width` AS `frame_width`,
  `f`.`height` AS `frame_height`,
  `o`.`id` AS `object_id`,
  `o`.`label`,
  `o`.`x_min`,
  `o`.`y_min`,
  `o`.`x_max`,
  `o`.`y_max`,
  GREATEST(LEAST(`o`.`x_max`, CAST(`f`.`width` AS FLOAT64)) - GREATEST(`o`.`x_min`, 0.0), 0.0) * GREATEST(
    LEAST(`o`.`y_max`, CAST(`f`.`height` AS FLOAT64)) - GREATEST(`o`.`y_min`, 0.0),
    0.0
  ) / NULLIF(CAST(`f`.`width` AS FLOAT64) * CAST(`f`.`height` AS FLOAT64), 0.0) AS `frame_share`
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
  NOT `o`.`x_min` IS NULL
  AND COALESCE(`o`.`status`, '') <> 'deleted'
  AND COALESCE(`f`.`status`, '') <> 'deleted'
