SELECT
  for_each(group_by, named(column_of(item), item.column)),
  COUNT(DISTINCT for_each(keys, column_of(item.first))) AS group_size,
  for_each(aggregates, named(aggregated(item.function, column_of(item.of)), item.function, item.of.column))
FROM first
INNER JOIN second ON all_of(keys, column_of(item.first) = column_of(item.second))
GROUP BY for_each(group_by, column_of(item))
HAVING COUNT(DISTINCT for_each(keys, column_of(item.first))) >= :min_group_size
ORDER BY for_each(group_by, column_of(item))
