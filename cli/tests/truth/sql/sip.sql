/* Every request with its final response, and lone responses; whoever asked is the client, though the conversation may
   have begun the other way. Truth knows a request by its ids alone: passed on in another conversation, it is the same. */
with named as (
  select
    *,
    row_number() over (partition by call_id, cseq, verb, case when uri is null then 0 else 1 end order by ts) as nth
  from sip
)
select
  case when requested_by = 'server' then server_ip else client_ip end as client_ip,
  case when requested_by = 'server' then server_port else client_port end as client_port,
  case when requested_by = 'server' then client_ip else server_ip end as server_ip,
  case when requested_by = 'server' then client_port else server_port end as server_port,
  verb as op,
  uri as res,
  status as code,
  cast(ts as bigint) as ts
from named
where nth = 1 or uri is null or verb = 'ACK' or call_id is null
