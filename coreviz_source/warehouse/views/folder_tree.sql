-- One row per folder: its full name from the top of the dataset, and how deep it is.
--
-- dataset_id: Id of the dataset.
-- dataset_name: Name of the dataset.
-- id: Id of the folder.
-- name: Name of the folder.
-- parent_id: Id of the folder that holds it; null at the top of the dataset.
-- full_name: Names of the folders from the top down to this one, joined by slashes; ids where a name is null.
-- depth: Number of folders in the full name, 1 at the top of the dataset.

WITH RECURSIVE folder_from_top AS (
    SELECT f.dataset_id, f.id, CAST(COALESCE(f.name, f.id) AS TEXT) AS full_name, 1 AS depth
    FROM folders AS f
    LEFT JOIN folders AS above ON above.dataset_id = f.dataset_id AND above.id = f.parent_id
    WHERE above.id IS NULL
    UNION ALL
    SELECT f.dataset_id, f.id, CAST(t.full_name || '/' || COALESCE(f.name, f.id) AS TEXT) AS full_name, t.depth + 1 AS depth
    FROM folder_from_top AS t
    JOIN folders AS f ON f.dataset_id = t.dataset_id AND f.parent_id = t.id
    -- BigQuery follows no more than 500 levels
    WHERE t.depth < 400
)
SELECT
    f.dataset_id,
    d.name AS dataset_name,
    f.id,
    f.name,
    f.parent_id,
    -- folders that hold each other in a circle are below no top: each stands alone
    COALESCE(t.full_name, f.name, f.id) AS full_name,
    COALESCE(t.depth, 1) AS depth
FROM folders AS f
LEFT JOIN folder_from_top AS t ON t.dataset_id = f.dataset_id AND t.id = f.id
LEFT JOIN datasets AS d ON d.id = f.dataset_id
