/* Every packet with its answer, from the side that sent it. Of a QoS 2 delivery truth has one row. Several topics are
   named there as a list. What an answer says is its code, where it has one and truth's reader knows it.
   Of a side truth's reader counts nothing behind lost segments, for which it waits. */
with holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
)
select
  case when sender = 'server' then server_ip else client_ip end as client_ip,
  case when sender = 'server' then server_port else client_port end as client_port,
  case when sender = 'server' then client_ip else server_ip end as server_ip,
  case when sender = 'server' then client_port else server_port end as server_port,
  packet as op,
  case
    when array_length(topic_filters, 1) > 1 then '[''' || array_to_string(topic_filters, ''', ''') || ''']'
    else coalesce(topic, topic_filters[1])
  end as res,
  case
    when response_packet in ('CONNACK', 'PUBACK', 'SUBACK', 'UNSUBACK') then coalesce(reason_codes[1], response_packet)
    when response_packet is null then reason_codes[1]
    else response_packet
  end as code,
  cast(mqtt.ts as bigint) as ts
from mqtt
left join holes on holes.flow_id = mqtt.flow_id
where packet not in ('PUBREC', 'PUBREL')
  and (case when sender = 'server' then server_hole else client_hole end is null
    or mqtt.ts < case when sender = 'server' then server_hole else client_hole end)
