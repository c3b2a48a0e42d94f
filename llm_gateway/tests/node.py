"""Node's own `openai` package: where it is installed for a test, and what it is asked to do."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "openai@6"
SECONDS = 90
SCRIPT = """
import OpenAI from "openai";
const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, defaultHeaders: { "x-moolai-stream-cost": "true" } });
const say = (content) => ({ model, messages: [{ role: "user", content }] });
const schema = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
const raised = async (work) => {
  try { await work(); return "nothing"; } catch (error) { return [error.constructor.name, error.status ?? null]; }
};
const all = async (stream) => { const found = []; for await (const piece of stream) found.push(piece); return found; };
const told = {};
const { data, response } = await client.chat.completions.create(say("hi")).withResponse();
told.chat = [data.choices[0].message.content, response.headers.get("x-moolai-provider")];
const stream = await client.chat.completions.create(
  { ...say("hi"), stream: true, stream_options: { include_usage: true } });
const pieces = await all(stream);
told.stream = pieces.map((piece) => piece.choices[0]?.delta?.content ?? "").join("");
told.usage = pieces.at(-1).usage.total_tokens;
const runner = client.chat.completions.stream({ ...say("weather?"), tools });
const calls = (await runner.finalChatCompletion()).choices[0].message.tool_calls;
told.tools = calls.map((call) => JSON.parse(call.function.arguments).city);
const format = { type: "json_schema", json_schema: { name: "City", strict: true, schema } };
const parsed = await client.chat.completions.parse({ ...say("which?"), response_format: format });
told.parsed = parsed.choices[0].message.parsed.city;
told.responses = (await client.responses.create({ model, input: "hi" })).output_text;
const events = await all(await client.responses.create({ model, input: "hi", stream: true }));
told.events = events.filter((event) => event.type === "response.output_text.delta").map((e) => e.delta).join("");
if (!model.startsWith("anthropic"))
  told.embedding = (await client.embeddings.create({
    model: model.startsWith("google") ? "google/gemini-embedding-001" : "openai/text-embedding-3-small", input: "a" }
  )).data[0].embedding;
told.errors = {};
for (const mode of ["400", "401", "404", "422", "429", "500", "early"])
  told.errors[mode] = await raised(async () =>
    all(await client.chat.completions.create({ ...say(`[${mode}]`), stream: true },
      { headers: { "x-moolai-retries": "0" } })));
const stranger = new OpenAI({ baseURL, apiKey: "mk_wrong", maxRetries: 0 });
told.errors.key = await raised(() => stranger.models.list());
console.log(JSON.stringify(told));
"""


def installed(folder: Path) -> Path:
    """Return the folder with the package in it; skips the test, by name, where it cannot be installed."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is missing: Node's `openai` is not tried")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm install {PACKAGE} did not end within {SECONDS} s: Node's `openai` is not tried")
    if done.returncode != 0:
        pytest.skip(f"npm install {PACKAGE} failed (no registry?): Node's `openai` is not tried")
    (folder / "client.mjs").write_text(SCRIPT)
    return folder


def run(folder: Path, *arguments: str) -> Any:
    """Run the script and return what it told."""
    command = ["node", "client.mjs", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
