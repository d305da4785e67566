/* Every command with the reply that ends it, and lone replies.

   What truth does its own way, followed here:
   - it has passwords in the clear; here they are `***`, and read from the packets that the rows come from;
   - it goes by segments: the last line of a reply, in a segment of its own, is another reply to it;
   - of a side it reads nothing behind lost segments: replies to commands there stand alone.

   What is left, and why:
   - suricata-verify__bug-8489-01 frame 14 holds two commands PWD, of which truth sees the first;
   - suricata-verify__ftp-too-long-command-first frames 26 and 28 are one command, for truth one a segment, which shifts
     the replies after it. */
with said as (
  select flow_id, ts, max(text(data)) as words
  from packets
  where text(data) like '% %' || chr(10) || '%' and flow_id in (select flow_id from ftp)
  group by flow_id, ts
),
holes as (
  select flow_id, min(client_missing_since) as client_hole, min(server_missing_since) as server_hole
  from connections
  group by flow_id
),
told as (
  select
    ftp.*,
    request_bytes > 0 and (client_hole is null or ftp.ts < client_hole) as is_asked,
    response_bytes > 0 and (
      server_hole is null or cast(ftp.ts as bigint) + coalesce(ftp.duration, 0) < cast(server_hole as bigint)
    ) as is_answered,
    case
      when argument like '%***'
        then coalesce(
          replace(argument, '***', '')
            || regexp_match(words, '(?i)' || verb || ' ' || replace(argument, '***', '') || '([^\r\n]*)')[1],
          argument
        )
      else argument
    end as spelled
  from ftp
  left join said on said.flow_id = ftp.flow_id and said.ts = ftp.ts and argument like '%***'
  left join holes on holes.flow_id = ftp.flow_id
)
select client_ip, client_port, server_ip, server_port,
       case when is_asked then verb else '(reply)' end as op,
       -- truth cuts long arguments and says how long they were
       case
         when not is_asked then null
         when character_length(spelled) > 240
           then substr(spelled, 1, 240) || '~' || character_length(spelled)
         else spelled
       end as res,
       status as code,
       cast(ts as bigint) as ts
from told
where is_asked or is_answered
union all
select client_ip, client_port, server_ip, server_port, '(reply)', null, preliminary_status, cast(ts as bigint)
from told
where not is_asked and is_answered and preliminary_status is not null
union all
select client_ip, client_port, server_ip, server_port, '(reply)', null, status, cast(said.ts as bigint)
from ftp
join said on said.flow_id = ftp.flow_id
where ftp.reply like '%' || chr(10) || '%'
  and cast(said.ts as bigint) > cast(ftp.ts as bigint)
  and cast(said.ts as bigint) <= cast(ftp.ts as bigint) + ftp.duration
  -- nothing but the line stands in its segment
  and regexp_like(said.words, '[^\n]' || cast(status as varchar) || ' [^\n]*\n$')
