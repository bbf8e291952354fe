insert overwrite directory '/out/stolen' using csv select * from people
insert overwrite directory '/out/stolen' using json select * from people
insert overwrite directory '/out/stolen' using orc select * from people
insert overwrite directory '/out/stolen' using parquet select * from people
insert overwrite directory '/out/stolen' using text select name from people
insert overwrite local directory '/out/stolen' using csv select * from people
with a as (select 1 as x) from people insert overwrite directory '/out/stolen' using csv select *
select transform(id) using 'cat' as x from people
select * from (select transform(id) using 'cat' as x from people)
select * from people where id in (select transform(id) using 'cat' as x from people)
create temporary view hidden_program as select transform(id) using 'cat' as x from people
create table stolen using parquet location '/out/stolen' as select * from people
create table stolen (a int) using csv location '/etc/passwd'
create table stolen using csv location '/etc/passwd'
create temporary view stolen using csv options (path '/etc/passwd')
create temporary view stolen using text options (path '/etc/passwd')
create temporary function f as 'java.lang.Thread'
create function f as 'java.lang.Thread'
create database d location '/out/stolen'
add jar '/opt/jars/opaque-jobs.jar'
add file '/etc/passwd'
add archive '/etc/passwd'
list files
set spark.sql.runSQLOnFiles=true
set -v
reset
select java_method('java.lang.System', 'lineSeparator')
select reflect('java.lang.System', 'lineSeparator')
select try_reflect('java.lang.System', 'lineSeparator')
select input_file_name() from people
select input_file_block_start() from people
select xpath_string('<a/>', 'a')
select * from csv.`/etc/passwd`
select * from text.`/etc/passwd`
select * from parquet.`/data/all`
load data local inpath '/etc/passwd' into table people
explain select * from people
explain extended select * from people
describe extended people
show create table people
show functions
show tables in global_temp
drop view people
uncache table people
cache table people
cache table stolen options ('storageLevel' 'DISK_ONLY') as select * from people
refresh table people
refresh '/data/all'
analyze table people compute statistics
alter view people as select 1
execute immediate 'insert overwrite directory "/out/stolen" using csv select * from people'
begin insert overwrite directory '/out/stolen' using csv select * from people; end
insert into people values (1, 'x')
truncate table people
delete from people
update people set id = 1
