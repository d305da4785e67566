/* Every command with the reply that ends it, and lone replies. */
select client_ip, client_port, server_ip, server_port,
       verb as op,
       -- truth cuts long arguments and says how long they were
       case
         when character_length(argument) > 240
           then substr(argument, 1, 240) || '~' || character_length(argument)
         else argument
       end as res,
       status as code,
       cast(ts as bigint) as ts
from ftp
