-- What a subscriber is told is the server's own, so that it stands there as the client.
with rows as (
  select *, verb = 'PUSH' and (reply_kind = 'push' or command in ('message', 'pmessage', 'smessage')) as told
  from redis
)
select case when told then server_ip else client_ip end as client_ip,
       case when told then server_port else client_port end as client_port,
       case when told then client_ip else server_ip end as server_ip,
       case when told then client_port else server_port end as server_port,
       case when length(verb) > 40 then substr(verb, 1, 40) || '~' || length(verb) else verb end as op,
       case when length(target) > 240 then substr(target, 1, 240) || '~' || length(target) else target end as res,
       case when told then command else reply_kind end as code,
       cast(ts as bigint) as ts
from rows
