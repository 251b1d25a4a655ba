"""`POST /v1/audio/conversions`: an audio file in another format, loudness and shape."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from serve_app.api import openapi
from serve_app.api.body_reader import conversion_content, read_conversion
from serve_app.api.paths import CONVERSIONS
from serve_app.api.request_context import request_context
from serve_app.gateway.conversions import ConversionRequest, Conversions


def create_router(conversions: Conversions) -> APIRouter:
    router = APIRouter(tags=["v1"])

    @router.post(
        CONVERSIONS,
        response_class=Response,
        responses=openapi.conversion_responses(),
        openapi_extra=openapi.body(conversion_content()) | {"parameters": [openapi.TIMEOUT]},
        summary="Convert audio",
    )
    async def create_conversion(request: Request) -> Response:
        """Converts an audio file to another format, with the file options of generations."""
        conversion, content = await read_conversion(request)
        context = request_context(request)
        encoding = conversion.encoding()
        blocks = conversions.convert(
            ConversionRequest(
                content, encoding, conversion.mastering(), context["caller"], context["deadline"]
            )
        )
        size = await anext(blocks)
        return StreamingResponse(
            (block async for block in blocks if isinstance(block, bytes)),
            media_type=encoding.file_format.media_type,
            headers={"content-length": str(size)},
        )

    return router
