// Swagger UI on our own document; calls carry the console's session with its CSRF token, or the credential pasted in.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

const token = document.querySelector("meta[name=csrf-token]").content;

window.ui = SwaggerUIBundle({
  url: "/api/schema/?format=json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // the default would ask somebody else's server
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  requestInterceptor: (request) => {
    const isOurs = new URL(request.url, location.href).origin === location.origin;
    if (isOurs && (request.method || "GET").toUpperCase() !== "GET") request.headers["X-CSRFToken"] = token;
    return request;
  },
});
