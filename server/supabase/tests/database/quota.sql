-- A user of each kind at its limit; races are tests/supabase/test_quota.py.
begin;
select plan(5);

create function pg_temp.become(who uuid) returns void language plpgsql as $$
begin
    perform set_config('request.jwt.claims',
        json_build_object('sub', who, 'role', 'authenticated')::text, true);
    perform set_config('role', 'authenticated', true);
end
$$;
create function pg_temp.make(count integer) returns void language sql as $$
    insert into public.traders (name, filter, interval)
        select 'T' || n, 'close > open', '1m' from generate_series(1, count) n
$$;
grant execute on all functions in schema pg_temp to authenticated;

create temporary table people (n integer, id uuid default gen_random_uuid());
insert into people (n) values (1), (2);
insert into auth.users (id, email) select id, id || '@example.com' from people;
insert into public.user_tiers (user_id, tier)
    select id, case n when 1 then 'free' else 'pro' end::public.tier from people;

select pg_temp.become((select id from people where n = 1));
select throws_ok('select pg_temp.make(1)', 'PT403', null, 'a free user runs none');
reset role;
select pg_temp.become((select id from people where n = 2));
select lives_ok('select pg_temp.make(10)', 'a pro user runs ten');
select throws_ok('select pg_temp.make(1)', 'PT403', null, 'and no more');
reset role;

update public.user_tiers set status = 'cancelled' where user_id = (select id from people where n = 2);
select results_eq(
    'select count(*)::int from public.traders where user_id = (select id from people where n = 2)'
    ' and paused_reason = ''tier''',
    array[10], 'a tier that ends pauses all ten');
update public.user_tiers set status = 'active' where user_id = (select id from people where n = 2);
select results_eq(
    'select count(*)::int from public.traders where user_id = (select id from people where n = 2)'
    ' and paused_reason is null',
    array[10], 'and one that begins again lets them run');

select * from finish();
rollback;
