-- Every exchange, named as the ground truth names it: the root in words, the response code without EDNS's part of it,
-- and multicast DNS and LLMNR not at all, for it counts them as protocols of their own.
select
  client_ip, client_port, server_ip, server_port,
  opcode as op,
  case when target = '.' then '<Root>' else target end as res,
  status % 16 as code,
  cast(ts as bigint) as ts
from dns
where server_port not in (5353, 5355) and client_port not in (5353, 5355)
