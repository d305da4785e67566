/* Every exchange, named as the ground truth names it: long words cut as there. What a subscriber is told counts there
   as sent by the server as if it were the client, with its kind as the code. Passwords are in the clear there; here they
   are `***`, and read from the packets that the rows come from. */
with logins as (
  select flow_id, ts, max(regexp_match(text(data), '(?i)\r\nauth\r\n\$[0-9]+\r\n([^\r\n]*)\r\n')[1]) as password
  from packets
  where text(data) ilike '%auth%' and flow_id in (select flow_id from redis where target = '***')
  group by flow_id, ts
),
named as (
  select
    redis.*,
    case when target = '***' then coalesce(password, target) else target end as spelled,
    verb = 'PUSH' and (reply_kind = 'push' or command in ('message', 'pmessage', 'smessage')) as told
  from redis
  left join logins on logins.flow_id = redis.flow_id and logins.ts = redis.ts and target = '***'
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
    when character_length(spelled) > 240 then left(spelled, 240) || '~' || character_length(spelled)
    else spelled
  end as res,
  case when told then command else reply_kind end as code,
  cast(ts as bigint) as ts
from named
