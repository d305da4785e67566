/* Every command with the reply that ends it, and lone replies.

   What is left, of 272, and why:
   - 13 passwords of users who are not anonymous: `***` here, in the clear in truth (among them frame 10 of
     suricata-verify__bug-8489__bug-8489-01, frame 1 of mercury__unit_tests__pcaps__ftp_exposed_creds);
   - 3 replies to FEAT whose last line came in a segment of its own, which truth counts as another reply
     (rec_ftpsmtp_0 frame 253, mercury emix frame 91, suricata-verify__ftp-epsv frame 20);
   - suricata-verify__bug-8489-01 frame 14 holds two commands PWD, of which truth sees the first;
   - suricata-verify__ftp-too-long-command-first frames 26 and 28 are one command, for truth one a segment, which shifts
     the replies after it. */
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
