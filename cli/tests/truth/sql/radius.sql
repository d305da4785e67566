/* Every transmission is an exchange there; who asks is the client, whatever the ports say. */
select
  case when server_initiated then server_ip else client_ip end as client_ip,
  case when server_initiated then server_port else client_port end as client_port,
  case when server_initiated then client_ip else server_ip end as server_ip,
  case when server_initiated then client_port else server_port end as server_port,
  request_code as op,
  null as res,
  response_code as code,
  cast(ts as bigint) as ts
from radius
