-- Jobs of the database's clock: what is old goes, tiers that ended end, and once a minute the
-- server is asked to evaluate what it may have missed. Each needs an extension that need not be
-- there: without pg_cron nothing is scheduled, without pg_net nothing is requested.

-- At most so many rows of a table at once: a job that was away for long does not hold locks for long.
create function private.sweep(
    history_days integer default 7, signal_days integer default 30, hour_days integer default 90,
    at_most integer default 10000
) returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    day_ms constant bigint := 86400000;
    now_ms constant bigint := (extract(epoch from now()) * 1000)::bigint;
    swept bigint := 0;
    gone bigint;
begin
    delete from public.execution_history where ctid = any (array(
        select h.ctid from public.execution_history h
        where h.started_ms < now_ms - sweep.history_days * day_ms
        order by h.started_ms limit sweep.at_most));
    get diagnostics gone = row_count;
    swept := swept + gone;
    delete from public.execution_hours where ctid = any (array(
        select h.ctid from public.execution_hours h
        where h.hour_ms < now_ms - sweep.hour_days * day_ms
        order by h.hour_ms limit sweep.at_most));
    get diagnostics gone = row_count;
    swept := swept + gone;
    delete from public.trader_signals where ctid = any (array(
        select s.ctid from public.trader_signals s
        where s.at_ms < now_ms - sweep.signal_days * day_ms
        order by s.at_ms limit sweep.at_most));
    get diagnostics gone = row_count;
    return swept + gone;
end
$$;
revoke all on function private.sweep from public;

-- A tier that runs out, or a limit that is lowered, changes no trader by itself.
create function private.fit_to_tiers() returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    who uuid;
    fitted bigint := 0;
begin
    for who in
        select t.user_id
        from public.traders t
        where t.user_id is not null and t.enabled and t.paused_reason is null
        group by t.user_id
        having count(*) > (
            select l.custom_traders from public.tier_limits l
            where l.tier = private.tier_of(t.user_id))
    loop
        perform private.fit_to_tier(who);
        fitted := fitted + 1;
    end loop;
    return fitted;
end
$$;
revoke all on function private.fit_to_tiers from public;

-- The project's address and its secret key stand in the Vault as project_url and function_key.
create function private.trigger_executions() returns bigint
language plpgsql security definer set search_path = '' as $$
declare
    address text;
    key text;
begin
    select s.decrypted_secret into address
        from vault.decrypted_secrets s where s.name = 'project_url';
    select s.decrypted_secret into key
        from vault.decrypted_secrets s where s.name = 'function_key';
    if address is null or key is null then
        raise warning 'nothing is triggered: the Vault has no project_url or no function_key';
        return null;
    end if;
    return net.http_post(
        url := address || '/functions/v1/trigger-executions',
        body := jsonb_build_object('trigger', 'cron'),
        headers := jsonb_build_object('Content-Type', 'application/json', 'apikey', key),
        timeout_milliseconds := 30000);
end
$$;
revoke all on function private.trigger_executions from public;

do $$
begin
    if exists (select from pg_available_extensions where name = 'pg_net') then
        create extension if not exists pg_net with schema extensions;
    end if;
    if not exists (select from pg_available_extensions where name = 'pg_cron') then
        raise notice 'no pg_cron: nothing is scheduled';
        return;
    end if;
    create extension if not exists pg_cron with schema pg_catalog;
    perform cron.schedule('klinecore-sweep', '*/5 * * * *', 'select private.sweep()');
    perform cron.schedule('klinecore-fit-to-tiers', '* * * * *', 'select private.fit_to_tiers()');
    perform cron.schedule('klinecore-forget-runs', '17 3 * * *',
        $job$delete from cron.job_run_details where end_time < now() - interval '7 days'$job$);
    if to_regproc('net.http_post') is null then
        raise notice 'no pg_net: nothing is requested';
    else
        perform cron.schedule('klinecore-trigger-executions', '* * * * *',
            'select private.trigger_executions()');
    end if;
end
$$;
