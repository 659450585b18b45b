{#- Finds ids of items of the same dataset that are not in another table. -#}
{% test item_exists(model, column, to) %}

WITH child AS (
    SELECT dataset_id, {{ column }} AS id
    FROM {{ model }}
    WHERE {{ column }} IS NOT NULL
),

parent AS (
    SELECT dataset_id, id
    FROM {{ to }}
)

SELECT child.dataset_id, child.id
FROM child
LEFT JOIN parent ON parent.dataset_id = child.dataset_id AND parent.id = child.id
WHERE parent.id IS NULL

{% endtest %}
