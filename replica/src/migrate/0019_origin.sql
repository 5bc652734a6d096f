-- Schema sync, version 19. Who an entry of a change log comes from is told by a function, which costs nothing where no
-- origin was ever set: it is strict. An origin is set by the engine for its own statements; what triggers do on the side
-- is local. Only the engine's own login may claim one: the trigger functions run as their owner, which is that login.
-- Every name is qualified: it runs with the search path of the session that changes a row.
create function sync.origin(setting text) returns int language plpgsql strict as $$ begin
    if setting operator(pg_catalog.<>) '' and pg_catalog.pg_trigger_depth() operator(pg_catalog.=) 1
       and session_user operator(pg_catalog.=) current_user then
        return setting::int;
    end if;
    return null;
end $$;
revoke all on function sync.origin(text) from public;
