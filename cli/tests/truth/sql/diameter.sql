/* Who asks is the client there, whichever side connected.
   Not found: arkime__diameter_synthetic, frames 15 and 21: SCTP. */
select
  case when server_initiated then server_ip else client_ip end as client_ip,
  case when server_initiated then server_port else client_port end as client_port,
  case when server_initiated then client_ip else server_ip end as server_ip,
  case when server_initiated then client_port else server_port end as server_port,
  command_code as op,
  null as res,
  status as code,
  cast(ts as bigint) as ts
from diameter
