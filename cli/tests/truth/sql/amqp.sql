/* Every method, named as the ground truth names it, from the side that sent it. Truth has no rows for heartbeats and for
   the header that opens a connection. */
select
  case when sender = 'server' then server_ip else client_ip end as client_ip,
  case when sender = 'server' then server_port else client_port end as client_port,
  case when sender = 'server' then client_ip else server_ip end as server_ip,
  case when sender = 'server' then client_port else server_port end as server_port,
  method as op,
  null as res,
  -- of an answer without its request, truth has no code
  case when response_method <> method then response_method end as code,
  cast(ts as bigint) as ts
from amqp
where method not in ('heartbeat', 'protocol-header')
