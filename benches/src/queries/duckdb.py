"""The peer: DuckDB asks the same files the same questions, in a process of its own.

Reads a job from standard input, prints a line of JSON for each question: its runs' CPU time (user and system, all
threads) in milliseconds, and its rows.
"""
import datetime
import decimal
import json
import sys
import time

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)


def plain(value):
    """The value as Kubeshark's side of the comparison writes it."""
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, datetime.datetime):
        return int((value.replace(tzinfo=None) - EPOCH) / datetime.timedelta(microseconds=1))
    if isinstance(value, (float, decimal.Decimal)):
        return float(value)
    raise TypeError(f"{type(value)} has no plain form")


job = json.load(sys.stdin)
connection = duckdb.connect(config={"threads": job["threads"]})
# Its bar would stand among the answers.
connection.execute("SET enable_progress_bar = false")
connection.execute("SET TimeZone = 'UTC'")
# What Kubeshark keeps in memory, too: footers.
connection.execute("SET parquet_metadata_cache = true")
for table in job["tables"]:
    files = f"{job['store']}/{table}/*.parquet"
    connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{files}')")
for question in job["questions"]:
    runs = []
    for run in range(job["runs"] + 1):
        before = time.process_time()
        answer = connection.execute(question["sql"])
        rows = answer.fetchall()
        if run > 0:  # the first warms
            runs.append((time.process_time() - before) * 1000)
    names = [it[0] for it in answer.description]
    wanted = [names.index(it) for it in question["columns"]] or range(len(names))
    rows = [[plain(row[i]) for i in wanted] for row in rows]
    print(json.dumps({"version": duckdb.__version__, "runs": runs, "rows": rows}), flush=True)
