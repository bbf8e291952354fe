WITH shared AS (
  SELECT COUNT(DISTINCT for_each(keys, column_of(item.first))) AS n
  FROM first
  LEFT SEMI JOIN second ON all_of(keys, column_of(item.first) = column_of(item.second))
)
SELECT
  CASE WHEN n >= :min_count THEN n END AS shared_keys,
  n < :min_count AS suppressed
FROM shared
