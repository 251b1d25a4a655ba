"""`POST /v1/audio/conversions`: an audio file in another format, loudness and shape."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from serve_app.api import openapi
from serve_app.api.body_reader import conversion_content, read_conversion
from serve_app.api.paths import CONVERSIONS
from serve_app.api.request_context import request_context
from serve_app.gateway.conversions import ConversionRequest, Conversions, ConvertedFile
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.track_fields import to_headers


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
        return await _answer(blocks, encoding.file_format.media_type)

    return router


async def _answer(
    blocks: AsyncIterator[ConvertedFile | bytes], media_type: str
) -> StreamingResponse:
    """Answer with the file. A header tells whether its audio was generated, as far as tags say."""
    headers: dict[str, str] = {}
    file = await anext(blocks)
    if isinstance(file, ConvertedFile):
        headers["content-length"] = str(file.size)
        if file.marked:
            headers |= to_headers({"digital_source_type": DIGITAL_SOURCE_TYPE})
    content = (block async for block in blocks if isinstance(block, bytes))
    return StreamingResponse(content, media_type=media_type, headers=headers)
