"""PostgREST as far as the functions use it: one table, its filters, and the roles of row level security."""

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SINGLE = "application/vnd.pgrst.object+json"
_RESERVED = {"select", "order", "limit", "columns", "on_conflict"}
_STATUS = {"23505": 409, "42501": 403, "PT429": 429}


class Rest:
    """Answers requests for `/rest/v1/tracks` by a real database.

    users: ids of users by their tokens; secret_keys: those that row level security does not bind.
    """

    def __init__(self, dsn: str, users: Mapping[str, str], secret_keys: set[str]) -> None:
        self._dsn = dsn
        self._users = users
        self._secret_keys = secret_keys

    def answer(self, request: Request, body: bytes) -> Response:
        try:
            with psycopg.connect(self._dsn, row_factory=dict_row) as connection:
                self._take_role(connection, request)
                rows = _run(connection, request, body)
        except psycopg.Error as error:
            code = error.sqlstate or "XX000"
            problem = {"code": code, "message": str(error), "details": None, "hint": None}
            return JSONResponse(problem, _STATUS.get(code, 400))
        return _answer(request, json.loads(json.dumps(rows, default=str)))

    def _take_role(self, connection: psycopg.Connection[Any], request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.headers.get("apikey", "") in self._secret_keys and token in self._secret_keys:
            connection.execute("set local role service_role")
            return
        user = self._users.get(token)
        connection.execute(
            "select set_config('request.jwt.claims', %s, true)",
            [json.dumps({"sub": user}) if user else ""],
        )
        role = "authenticated" if user else "anon"
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))


def _run(
    connection: psycopg.Connection[Any], request: Request, body: bytes
) -> list[dict[str, Any]]:
    values = json.loads(body) if body else {}
    where, arguments = _where(request)
    if request.method == "GET":
        statement = sql.SQL("select * from tracks {} {}").format(where, _tail(request))
        return connection.execute(statement, arguments).fetchall()
    returning = sql.SQL("returning *" if _wants_rows(request) else "")
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
    if request.method == "POST":
        statement = sql.SQL("insert into tracks ({}) values ({}) {}").format(
            names, places, returning
        )
    else:
        assert request.method == "PATCH", request.method
        statement = sql.SQL("update tracks set ({}) = row({}) {} {}").format(
            names, places, where, returning
        )
    given = [json.dumps(value) if isinstance(value, dict) else value for value in values.values()]
    cursor = connection.execute(
        statement, [*given, *(arguments if request.method == "PATCH" else [])]
    )
    return cursor.fetchall() if _wants_rows(request) else []


def _where(request: Request) -> tuple[sql.Composable, list[Any]]:
    conditions: list[sql.Composable] = []
    arguments: list[Any] = []
    for name, text in request.query_params.items():
        if name in _RESERVED:
            continue
        operator, _, value = text.partition(".")
        column = sql.Identifier(name)
        if operator == "eq":
            conditions.append(sql.SQL("{} = %s").format(column))
            arguments.append(value)
        elif operator == "in":
            conditions.append(sql.SQL("{} = any(%s)").format(column))
            arguments.append(value.strip("()").replace('"', "").split(","))
        else:
            assert (operator, value) == ("is", "null"), text
            conditions.append(sql.SQL("{} is null").format(column))
    if not conditions:
        return sql.SQL(""), []
    return sql.SQL("where {}").format(sql.SQL(" and ").join(conditions)), arguments


def _tail(request: Request) -> sql.Composable:
    parts: list[sql.Composable] = []
    if order := request.query_params.get("order"):
        assert order == "created_at.asc", order
        parts.append(sql.SQL("order by created_at"))
    if limit := request.query_params.get("limit"):
        parts.append(sql.SQL("limit {}").format(int(limit)))
    return sql.SQL(" ").join(parts)


def _wants_rows(request: Request) -> bool:
    return "return=representation" in request.headers.get("prefer", "")


def _answer(request: Request, rows: list[dict[str, Any]]) -> Response:
    if request.method != "GET" and not _wants_rows(request):
        return Response(status_code=201 if request.method == "POST" else 204)
    if SINGLE not in request.headers.get("accept", ""):
        return JSONResponse(rows)
    if len(rows) == 1:
        return JSONResponse(rows[0])
    problem = {
        "code": "PGRST116",
        "details": f"The result contains {len(rows)} rows",
        "message": "",
        "hint": None,
    }
    return JSONResponse(problem, 406)
