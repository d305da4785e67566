/* Questions quoted in ICMP errors are exchanges there, without ports; they are rows of `icmp` here.
   Not found: inside GRE version 1 (GrePackets, frame 6), and an answer over HTTP/2 that came after its stream was reset
   (app-layer-protocol-exact, frame 21; its question stands alone here). Groups' questions have files of their own. */
select client_ip, client_port, server_ip, server_port,
       opcode as op,
       case target
         when '.' then '<Root>'
         -- without the escapes of zone files
         else regexp_replace(replace(target, '\032', ' '), '\\([^0-9])', '\1', 'g')
       end as res,
       -- the header's own four bits; `status` has those of EDNS above them
       status % 16 as code,
       cast(ts as bigint) as ts
from dns
where (server_port not in (5353, 5355) and client_port not in (5353, 5355)) or 53 in (server_port, client_port)
