select * from t
select distinct a, b from t
select a.*, b.c from t a join u b on a.id=b.id
select * from t natural join u
select * from t left anti join u using (id)
select * from t full outer join u on t.id = u.id and t.a > 3
select * from t cross join u
select * from t, u where t.id = u.id
select * from t left semi join u on t.id=u.id
select sum(a) filter (where b > 1) from t
select a, count(*) from t group by a having count(*) > 1
select a, b, sum(c) from t group by rollup(a, b)
select a, b, sum(c), grouping(a), grouping_id() from t group by grouping sets ((a),(b),())
select a, sum(c) from t group by cube(a)
select a, sum(c) from t group by all
select * from t order by all
select a, row_number() over (partition by b order by c desc nulls last) from t
select sum(a) over w from t window w as (partition by b order by c rows between unbounded preceding and current row)
select lag(a, 1) ignore nulls over (order by b) from t
select a from t where exists (select 1 from u where u.id = t.id)
select a from t where id in (select id from u)
select a from t where (id, a) not in (select id, a from u)
select a, (select max(b) from u) from t
select * from (select a from t) x
with x as (select * from t), y as (select * from x) select * from y
with recursive r(n) as (select 1 union all select n+1 from r where n < 5) select * from r
select a from t union select a from u
select a from t union all select a from u
select a from t except select a from u
select a from t minus all select a from u
select a from t intersect all select a from u
select cast(a as decimal(10,2)), a::string, try_cast(a as int) from t
select case a when 1 then 'x' else 'y' end, if(a>1, 2, 3), coalesce(a, 1), nullif(a, 1) from t
select date '2020-01-01' + interval '3' month, timestamp '2020-01-01 00:00:00', interval '1-2' year to month
select extract(year from d), year(d), date_trunc('month', d), add_months(d, 1), d + interval 1 day from t
select substring(s from 1 for 2), substring(s, 1, 2), trim(both 'x' from s), trim(leading from s), position('a' in s), overlay(s placing 'x' from 1 for 2) from t
select s like '%a_%', s not like 'a', s rlike 'x', s like any ('a','b'), s ilike 'A', s like 'a!%' escape '!' from t
select a between 1 and 2, a not between 1 and 2, a in (1,2), a is not null, a is distinct from 1, a <=> 1, a is true from t
select array(1,2)[0], map('a',1)['a'], struct(1 as x).x, named_struct('a',1).a, arr[0], m['k'], st.f from t
select transform(arr, x -> x + 1), filter(arr, (x, i) -> i > 1), aggregate(arr, 0, (s, x) -> s + x) from t
select explode(arr) from t
select a, e from t lateral view explode(arr) z as e
select a, e from t lateral view outer posexplode(arr) z as p, e
select * from t, lateral (select t.a + 1 as b)
select * from t pivot (sum(c) as s for a in (1 as one, 2 as two))
select * from t unpivot (v for n in (a, b))
select * from values (1,'a'),(2,'b') as v(x,y)
select * from t tablesample (10 percent)
select * from t tablesample (5 rows)
select * from t limit 10 offset 5
select /*+ broadcast(u) */ * from t join u using (id)
select /*+ repartition(3) */ * from t
select a from t distribute by a sort by b
select a from t cluster by a
select percentile_approx(a, 0.5), count(distinct a, b), stddev(a), corr(a,b), collect_list(a), max_by(a,b), listagg(s, ',') within group (order by s), mode() within group (order by a), percentile_cont(0.5) within group (order by a) from t
select * except (a) from t
select current_date, current_timestamp(), current_user(), now()
select a % 2, a div 2, -a, +a, ~a, a & 1, a | 1, a ^ 1, a || 'x', not b, a != 1, a <> 2, a << 1 from t
select inline(arr) from t
select * from range(10)
select * from explode(array(1,2))
select stack(2, 1, 2) from t
select from_json(s, 'a int').a, get_json_object(s, '$.a'), to_json(struct(a)) from t
select timestampadd(day, 1, d), datediff(month, d, d2), timestampdiff(hour, d, d2), dateadd(day, 1, d) from t
from t |> where a > 1 |> extend a+1 as b |> aggregate sum(b) group by a |> order by a |> limit 3 |> select a
from t select a where a > 1
table t
select a as `weird name` from t `x y`
select first(a), last(a), any_value(a), bool_and(b), count_if(b), approx_count_distinct(a) from t
select * from t as x(c1, c2)
select named_struct('a', 1, 'b', array(1)) st, map_from_arrays(array(1), array(2)) m
select s collate utf8_lcase from t
select window(ts, '1 day').start, count(*) from t group by window(ts, '1 day')
select a from t qualify row_number() over (order by a) = 1
select date_part('year', d), make_date(2020,1,1), to_date('2020','yyyy'), unix_timestamp(d), from_unixtime(1) from t
select aes_encrypt(s, 'k'), sha2(s, 256), md5(s), xxhash64(a), hash(a) from t
select json_tuple(s, 'a', 'b') from t
select from_csv(s, 'a ' 'int', map('sep', ';')), from_json(s, schema_of_json('{"a":1}')), variant_get(parse_json(s), '$.a', 'int') from t
create or replace temporary view v as select * from t
select 1 where true and null is null
select try_divide(a, 0), try_add(a, 1), round(a, 2), ceil(a), floor(a), power(a, 2), sqrt(a) from t
select count(*) from t group by 1 order by 1
select cast('1' as interval day), interval 3 days, a * interval 1 day from t
select x.a from (values (1)) as x(a)
select grouping(a), a from t group by a with rollup
select any(a), some(a), every(a) from t
select a from t where a = any (array(1,2))
select typeof(a), version(), uuid(), rand(), randn() from t
select sum(distinct a) from t
select ifnull(a,1), nvl2(a,1,2), decode(a,1,'x','y'), greatest(a,b), least(a,b) from t
select * from t sort by a desc
select a from t join lateral (select * from u where u.id = t.id limit 1) on true
select split(s, ',')[0], regexp_replace(s,'a','b'), concat_ws(',', s, s), lpad(s, 5, '0'), format_number(a, 2), initcap(s), instr(s,'a') from t
