/* As dns.sql, by the port that groups use. */
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
-- of two ports that are known there, the lower one counts
where 5353 in (server_port, client_port) and 53 not in (server_port, client_port)
