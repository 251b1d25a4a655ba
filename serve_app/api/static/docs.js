/** The API's documentation: Swagger UI over this service's OpenAPI document. */

globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null, // else it sends the document's address to a validator elsewhere
});
