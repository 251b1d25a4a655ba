"""`POST /v1/audio/provenance`: what the marks of an audio file say."""

from fastapi import APIRouter, Request

from serve_app.api import openapi
from serve_app.api.body_reader import check_content, read_check
from serve_app.api.paths import PROVENANCE
from serve_app.api.request_context import request_context
from serve_app.gateway.provenance_checks import CheckRequest, ProvenanceChecks
from serve_app.provenance_report import ProvenanceReport


def create_router(checks: ProvenanceChecks) -> APIRouter:
    router = APIRouter(tags=["v1"])

    @router.post(
        PROVENANCE,
        responses=openapi.check_responses(),
        openapi_extra=openapi.body(check_content()) | {"parameters": [openapi.TIMEOUT]},
        summary="Check the marks of audio",
    )
    async def check_provenance(request: Request) -> ProvenanceReport:
        """Reads the tags, the signed manifest, also a detached one, and the watermark of an audio file.

        A file without marks may be generated all the same, and tags can be forged.
        """
        content, manifest = await read_check(request)
        context = request_context(request)
        return await checks.check(
            CheckRequest(content, context["caller"], context["deadline"], manifest)
        )

    return router
