/* Every command with its reply, messages and lone replies.

   What truth does its own way, followed here:
   - what is neither four letters nor STARTTLS is no command to it, and the reply to it stands alone;
   - it pairs all replies in order, so that where a client speaks before the greeting, the greeting answers its first
     command, and so on;
   - a message counts only after a captured 354;
   - after DATA all is message up to a dot on a line, even if the server has refused it and goes on with commands;
   - it goes by segments: where the lines of a reply are sent one by one, each is a reply to it;
   - it has what AUTH carries in the clear; here passwords are `***`, and read from the packets that the rows come from. */
with said as (
  select flow_id, ts, max(text(data)) as words
  from packets
  where text(data) like '%' || chr(10) || '%' and flow_id in (select flow_id from smtp)
  group by flow_id, ts
),
greeted as (
  select flow_id, min(ts) as ts from smtp where verb = '(reply)' and status = 220 group by flow_id
),
early as (
  select smtp.flow_id, max(smtp.seq) as last_seq
  from smtp join greeted on smtp.flow_id = greeted.flow_id
  where smtp.ts < greeted.ts
  group by smtp.flow_id
),
listed as (
  select
    smtp.*,
    case when smtp.ts < greeted.ts then 1 else 0 end as is_early,
    case when early.last_seq is not null and smtp.ts = greeted.ts and smtp.verb = '(reply)' then 1 else 0 end as is_greeting,
    lag(smtp.status) over (partition by smtp.flow_id order by smtp.ts, smtp.seq) as status_before,
    max(case when smtp.verb = 'DATA' and smtp.status >= 400 then smtp.seq end) over (
      partition by smtp.flow_id order by smtp.ts, smtp.seq rows between unbounded preceding and 1 preceding
    ) as refused_seq,
    max(case when smtp.verb in ('(data)', '.') then smtp.seq end) over (
      partition by smtp.flow_id order by smtp.ts, smtp.seq rows between unbounded preceding and 1 preceding
    ) as ended_seq,
    latest.status as early_status
  from smtp
  left join greeted on smtp.flow_id = greeted.flow_id
  left join early on smtp.flow_id = early.flow_id
  left join smtp as latest on latest.flow_id = early.flow_id and latest.seq = early.last_seq
),
named as (
  select
    *,
    refused_seq is null or refused_seq < coalesce(ended_seq, 0) as is_outside,
    verb in ('(data)', '(auth)', 'STARTTLS') or (
      character_length(verb) = 4
      and lower(substr(verb, 1, 1)) <> upper(substr(verb, 1, 1)) and lower(substr(verb, 2, 1)) <> upper(substr(verb, 2, 1))
      and lower(substr(verb, 3, 1)) <> upper(substr(verb, 3, 1)) and lower(substr(verb, 4, 1)) <> upper(substr(verb, 4, 1))
    ) as is_word
  from listed
),
told as (
  select
    named.*,
    is_word and is_outside as is_command,
    case
      when argument like '%***'
        then coalesce(
          replace(argument, '***', '')
            || regexp_match(words, '(?i)' || verb || ' ' || replace(argument, '***', '') || '([^\r\n]*)')[1],
          argument
        )
      else argument
    end as spelled
  from named
  left join said on said.flow_id = named.flow_id and said.ts = named.ts and argument like '%***'
)
select client_ip, client_port, server_ip, server_port,
       case when is_command then verb else '(reply)' end as op,
       -- truth cuts long arguments and says how long they were
       case
         when not is_command then null
         when character_length(spelled) > 240
           then substr(spelled, 1, 240) || '~' || character_length(spelled)
         else spelled
       end as res,
       case
         when is_early = 1 then coalesce(status_before, 220)
         when is_greeting = 1 then early_status
         else status
       end as code,
       cast(ts as bigint) + case when is_command or verb = '(reply)' then 0 else coalesce(duration, 0) end as ts
from told
where (is_command or status is not null)
  and not (verb = '(data)' and status is null and status_before is distinct from 354)
union all
select client_ip, client_port, server_ip, server_port, '(reply)', null, status, ts
from (
  select
    client_ip, client_port, server_ip, server_port, status,
    cast(said.ts as bigint) as ts,
    row_number() over (partition by smtp.flow_id, smtp.seq order by said.ts) as nth
  from smtp
  join said on said.flow_id = smtp.flow_id
  where smtp.reply like '%' || chr(10) || '%'
    and cast(said.ts as bigint) > cast(smtp.ts as bigint)
    and cast(said.ts as bigint) <= cast(smtp.ts as bigint) + smtp.duration
    -- the first line of its segment
    and regexp_like(said.words, '[^\n]' || cast(status as varchar) || '[ -][^\n]*\n')
) as segments
-- the first is the row's own
where nth > 1
