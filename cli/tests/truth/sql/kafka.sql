/* Every exchange, named as the ground truth names it: there ListOffsets is Offsets, as it was called once, and newer
   APIs have no names. */
select
  client_ip,
  client_port,
  server_ip,
  server_port,
  case
    when api_key = 2 then 'Offsets'
    when api_key > 47 then 'Unknown ' || cast(api_key as varchar)
    else api
  end as op,
  list_sort(list_distinct(topics)) as res,
  '[' || array_to_string(error_codes, ', ') || ']' as code,
  cast(ts as bigint) as ts
from kafka
