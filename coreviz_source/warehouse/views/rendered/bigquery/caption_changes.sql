WITH RECURSIVE `shown` AS (
  SELECT
    `h`.`dataset_id`,
    `h`.`media_id`,
    `h`.`frame_id`,
    `h`.`id`,
    `h`.`text`,
    `h`.`model`,
    `h`.`valid_from`,
    `h`.`valid_to`,
    `h`.`run`,
    LAG(`h`.`valid_to`) OVER (
      PARTITION BY `h`.`dataset_id`, `h`.`media_id`, `h`.`id`
      ORDER BY `h`.`valid_from` NULLS LAST
    ) AS `previous_to`,
    LAG(`h`.`text`) OVER (
      PARTITION BY `h`.`dataset_id`, `h`.`media_id`, `h`.`id`
      ORDER BY `h`.`valid_from` NULLS LAST
    ) AS `previous_text`,
    LAG(`h`.`model`) OVER (
      PARTITION BY `h`.`dataset_id`, `h`.`media_id`, `h`.`id`
      ORDER BY `h`.`valid_from` NULLS LAST
    ) AS `previous_model`,
    LEAD(`h`.`valid_from`) OVER (
      PARTITION BY `h`.`dataset_id`, `h`.`media_id`, `h`.`id`
      ORDER BY `h`.`valid_from` NULLS LAST
    ) AS `next_from`
  FROM `{caption_history}` AS `h`
  WHERE
    COALESCE(`h`.`status`, '') <> 'deleted'
), `stood` AS (
  SELECT
    `s`.`dataset_id`,
    `s`.`media_id`,
    `s`.`frame_id`,
    `s`.`id`,
    `s`.`text`,
    `s`.`model`,
    `s`.`valid_from`,
    `s`.`valid_to`,
    `s`.`run`,
    `s`.`previous_to` = `s`.`valid_from` AS `continues`,
    `s`.`next_from` = `s`.`valid_to` AS `continued`,
    MAX(
      CASE
        WHEN `s`.`previous_to` = `s`.`valid_from`
        AND `s`.`previous_text` IS NOT DISTINCT FROM `s`.`text`
        AND `s`.`previous_model` IS NOT DISTINCT FROM `s`.`model`
        THEN NULL
        ELSE `s`.`valid_from`
      END
    ) OVER (PARTITION BY `s`.`dataset_id`, `s`.`media_id`, `s`.`id` ORDER BY `s`.`valid_from`) AS `since`
  FROM `shown` AS `s`
), `ended` AS (
  SELECT
    `s`.*,
    ROW_NUMBER() OVER (
      PARTITION BY `s`.`dataset_id`, `s`.`media_id`, `s`.`frame_id`, `s`.`valid_to`
      ORDER BY `s`.`since` NULLS LAST, `s`.`id` NULLS LAST
    ) AS `place`
  FROM `stood` AS `s`
  WHERE
    NOT `s`.`valid_to` IS NULL AND NOT COALESCE(`s`.`continued`, FALSE)
), `begun` AS (
  SELECT
    `s`.*,
    ROW_NUMBER() OVER (
      PARTITION BY `s`.`dataset_id`, `s`.`media_id`, `s`.`frame_id`, `s`.`valid_from`
      ORDER BY `s`.`id` NULLS LAST
    ) AS `place`
  FROM `stood` AS `s`
  WHERE
    NOT COALESCE(`s`.`continues`, FALSE)
), `pairs` AS (
  SELECT
    `a`.`dataset_id`,
    `a`.`media_id`,
    `a`.`frame_id`,
    `a`.`id`,
    `a`.`text`,
    `a`.`model`,
    `a`.`valid_from`,
    `a`.`run`,
    `b`.`id` AS `id_before`,
    `b`.`text` AS `text_before`,
    `b`.`model` AS `model_before`,
    `b`.`since` AS `since_before`
  FROM `stood` AS `a`
  JOIN `stood` AS `b`
    ON `b`.`dataset_id` = `a`.`dataset_id`
    AND `b`.`media_id` = `a`.`media_id`
    AND `b`.`id` = `a`.`id`
    AND `b`.`valid_to` = `a`.`valid_from`
  UNION ALL
  SELECT
    `a`.`dataset_id`,
    `a`.`media_id`,
    `a`.`frame_id`,
    `a`.`id`,
    `a`.`text`,
    `a`.`model`,
    `a`.`valid_from`,
    `a`.`run`,
    `b`.`id` AS `id_before`,
    `b`.`text` AS `text_before`,
    `b`.`model` AS `model_before`,
    `b`.`since` AS `since_before`
  FROM `begun` AS `a`
  JOIN `ended` AS `b`
    ON `b`.`dataset_id` = `a`.`dataset_id`
    AND `b`.`media_id` = `a`.`media_id`
    AND `b`.`frame_id` = `a`.`frame_id`
    AND `b`.`valid_to` = `a`.`valid_from`
    AND `b`.`place` = `a`.`place`
), `folder_from_top` AS (
  SELECT
    `f`.`dataset_id`,
    `f`.`id`,
    CAST(COALESCE(`f`.`name`, `f`.`id`) AS STRING) AS `full_name`,
    1 AS `depth`
  FROM `{folders}` AS `f`
  LEFT JOIN `{folders}` AS `above`
    ON `above`.`dataset_id` = `f`.`dataset_id` AND `above`.`id` = `f`.`parent_id`
  WHERE
    `above`.`id` IS NULL
  UNION ALL
  SELECT
    `f`.`dataset_id`,
    `f`.`id`,
    CAST(`t`.`full_name` || '/' || COALESCE(`f`.`name`, `f`.`id`) AS STRING) AS `full_name`,
    `t`.`depth` + 1 AS `depth`
  FROM `folder_from_top` AS `t`
  JOIN `{folders}` AS `f`
    ON `f`.`dataset_id` = `t`.`dataset_id` AND `f`.`parent_id` = `t`.`id`
  WHERE
    `t`.`depth` < 400
), `folder_tree` AS (
  SELECT
    `f`.`dataset_id`,
    `d`.`name` AS `dataset_name`,
    `f`.`id`,
    `f`.`name`,
    `f`.`parent_id`,
    COALESCE(`t`.`full_name`, `f`.`name`, `f`.`id`) AS `full_name`,
    COALESCE(`t`.`depth`, 1) AS `depth`
  FROM `{folders}` AS `f`
  LEFT JOIN `folder_from_top` AS `t`
    ON `t`.`dataset_id` = `f`.`dataset_id` AND `t`.`id` = `f`.`id`
  LEFT JOIN `{datasets}` AS `d`
    ON `d`.`id` = `f`.`dataset_id`
)
SELECT
  `p`.`dataset_id`,
  `d`.`name` AS `dataset_name`,
  `fo`.`name` AS `folder_name`,
  `fo`.`full_name` AS `folder_full_name`,
  `p`.`media_id`,
  `m`.`name` AS `media_name`,
  `m`.`type` AS `media_type`,
  `p`.`frame_id`,
  `p`.`id` AS `caption_id`,
  `p`.`valid_from` AS `changed_at`,
  `p`.`text_before`,
  `p`.`text` AS `text_after`,
  `p`.`model_before`,
  `p`.`model` AS `model_after`,
  `p`.`since_before` AS `stood_since`,
  TIMESTAMP_DIFF(`p`.`valid_from`, `p`.`since_before`, MICROSECOND) / 1e6 AS `stood_seconds`,
  `p`.`id` = `p`.`id_before` AS `same_id`,
  `p`.`id_before` AS `caption_id_before`,
  `p`.`run`
FROM `pairs` AS `p`
LEFT JOIN `{datasets}` AS `d`
  ON `d`.`id` = `p`.`dataset_id`
LEFT JOIN (
  SELECT
    `dataset_id`,
    `id`,
    `name`,
    `type`,
    `folder_id`,
    ROW_NUMBER() OVER (PARTITION BY `dataset_id`, `id` ORDER BY `valid_from` DESC) AS `place`
  FROM `{media_history}`
) AS `m`
  ON `m`.`dataset_id` = `p`.`dataset_id`
  AND `m`.`id` = `p`.`media_id`
  AND `m`.`place` = 1
LEFT JOIN `folder_tree` AS `fo`
  ON `fo`.`dataset_id` = `m`.`dataset_id` AND `fo`.`id` = `m`.`folder_id`
WHERE
  `p`.`text` IS DISTINCT FROM `p`.`text_before`
  OR `p`.`model` IS DISTINCT FROM `p`.`model_before`
