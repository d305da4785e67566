/* Every exchange, named as the ground truth names it: long words cut as there. What a subscriber is told counts there
   as sent by the server as if it were the client, with its kind as the code.
   Known differences: two AUTH commands (redis-50-pings, redis_exposed_creds), whose passwords are kept as ***. */
with named as (
  select
    *,
    verb = 'PUSH' and (reply_kind = 'push' or command in ('message', 'pmessage', 'smessage')) as told
  from redis
)
select
  case when told then server_ip else client_ip end as client_ip,
  case when told then server_port else client_port end as client_port,
  case when told then client_ip else server_ip end as server_ip,
  case when told then client_port else server_port end as server_port,
  case
    when character_length(verb) > 40 then left(verb, 40) || '~' || character_length(verb)
    else verb
  end as op,
  case
    when character_length(target) > 240 then left(target, 240) || '~' || character_length(target)
    else target
  end as res,
  case when told then command else reply_kind end as code,
  cast(ts as bigint) as ts
from named
