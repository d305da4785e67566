/* Every command with its reply, messages and lone replies.

   What truth does its own way, followed here:
   - what is neither four letters nor STARTTLS is no command to it, and the reply to it stands alone;
   - it pairs all replies in order, so that where a client speaks before the greeting, the greeting answers its first
     command, and so on;
   - a message counts only after a captured 354;
   - after DATA all is message up to a dot on a line, even if the server has refused it and goes on with commands.

   What is left, of 199: 24 missed in rec_ftpsmtp_0 (frames 322-325, 344-347, 366-369, 411-416 and so on), where each
   line of a reply to EHLO is a segment, which truth counts as a reply each. Elsewhere, what AUTH carries would differ
   where it holds a password, which no row does. */
with greeted as (
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
  select *, is_word and is_outside as is_command from named
)
select client_ip, client_port, server_ip, server_port,
       case when is_command then verb else '(reply)' end as op,
       -- truth cuts long arguments and says how long they were
       case
         when not is_command then null
         when character_length(argument) > 240
           then substr(argument, 1, 240) || '~' || character_length(argument)
         else argument
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
