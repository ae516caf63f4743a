// All talk with the server: ComfyUI's routes for flows, the queue and pictures, and limn's own below /limn (docs/api.md).

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type ApiNode = { class_type: string; inputs: Record<string, Json>; _meta?: { title: string } };
export type Flow = Record<string, ApiNode>;
export type Picture = { filename: string; subfolder: string; type: string };
export type InputInfo = [string | string[], Record<string, unknown>?];
export type NodeInfo = {
    name: string;
    display_name: string;
    description: string;
    category: string;
    input: { required?: Record<string, InputInfo>; optional?: Record<string, InputInfo> };
    input_order?: { required?: string[]; optional?: string[] };
    output: string[];
    output_name: string[];
    output_is_list: boolean[];
    output_node: boolean;
    deprecated?: boolean;
    experimental?: boolean;
};
export type NodeError = { errors: { type: string; message: string; details: string; extra_info?: { input_name?: string } }[]; class_type: string };

/** What went wrong, in words for people; `status` 0: the server cannot be reached. */
export class ApiError extends Error {
    constructor(readonly status: number, message: string, readonly nodes: Record<string, NodeError> = {}) {
        super(message);
    }
}

const token = new URLSearchParams(location.search).get("token") ?? sessionStorage.getItem("limn.token");
if (token) {
    sessionStorage.setItem("limn.token", token);
    if (location.search.includes("token=")) history.replaceState(null, "", location.pathname + location.hash);
}
const user = localStorage.getItem("limn.user");

function headers(): Record<string, string> {
    return { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...(user ? { "Comfy-User": user } : {}) };
}

/** A picture's address, for <img>, which cannot send a header. */
export function address(path: string, query: Record<string, string | number | undefined> = {}): string {
    const q = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") q.set(name, String(value));
    if (token) q.set("token", token);
    const text = q.toString();
    return path + (text ? `?${text}` : "");
}

async function answer(response: Response): Promise<unknown> {
    const text = await response.text();
    let body: unknown = text;
    try {
        body = text ? JSON.parse(text) : null;
    } catch {
        // not JSON: the text itself
    }
    if (response.ok) return body;
    const said = body as { error?: { message?: string; details?: string } | string; message?: string; node_errors?: Record<string, NodeError> } | null;
    const error = said && typeof said === "object" ? said.error ?? said.message : undefined;
    const words = typeof error === "string" ? error : error ? [error.message, error.details].filter(Boolean).join(": ") : `${response.status} ${response.statusText}`;
    throw new ApiError(response.status, words, (said && typeof said === "object" && said.node_errors) || {});
}

async function ask(method: string, path: string, body?: BodyInit | object): Promise<unknown> {
    const plain = body !== undefined && !(body instanceof FormData) && !(body instanceof Blob) && typeof body !== "string";
    let response: Response;
    try {
        response = await fetch(path, {
            method,
            headers: { ...headers(), ...(plain ? { "Content-Type": "application/json" } : {}) },
            body: plain ? JSON.stringify(body) : (body as BodyInit | undefined),
        });
    } catch {
        throw new ApiError(0, "the server cannot be reached");
    }
    return answer(response);
}

export const get = <T>(path: string, query: Record<string, string | number | undefined> = {}): Promise<T> => ask("GET", address(path, query)) as Promise<T>;
export const post = <T>(path: string, body?: BodyInit | object): Promise<T> => ask("POST", path, body) as Promise<T>;
export const remove = <T>(path: string): Promise<T> => ask("DELETE", path) as Promise<T>;

let known: Promise<Record<string, NodeInfo>> | undefined;
/** The node table; asked for once, or again when files may be new. */
export function nodeTable(again = false): Promise<Record<string, NodeInfo>> {
    if (!known || again) known = get<Record<string, NodeInfo>>("/api/object_info");
    known.catch(() => (known = undefined));
    return known;
}

/** What the server tells of a model: its own size and habits. */
export type ModelFacts = { name: string; width: number; height: number; cell: number; steps: number; cfg: number; sampler: string; schedule: string };
export async function modelFacts(): Promise<Map<string, ModelFacts>> {
    return new Map((await get<ModelFacts[]>("/limn/models")).map(f => [f.name, f]));
}

/** The names that a node's input offers. */
export function choices(table: Record<string, NodeInfo>, node: string, input: string): string[] {
    const info = table[node]?.input.required?.[input] ?? table[node]?.input.optional?.[input];
    const offered = Array.isArray(info?.[0]) ? info[0] : (info?.[1]?.options as string[] | undefined);
    return offered ?? [];
}

/** Where a picture is; with `small` a WebP of so many pixels. */
export function pictureAddress(p: Picture, small?: number): string {
    return address("/api/view", { filename: p.filename, subfolder: p.subfolder, type: p.type, small });
}

export async function upload(file: Blob, name: string, route = "image", more: Record<string, string> = {}): Promise<Picture> {
    const form = new FormData();
    form.set("image", file, name);
    for (const [key, value] of Object.entries(more)) form.set(key, value);
    const said = await post<{ name: string; subfolder: string; type: string }>(`/api/upload/${route}`, form);
    return { filename: said.name, subfolder: said.subfolder, type: said.type };
}

export type Queued = { prompt_id: string; number: number; node_errors: Record<string, NodeError> };
export function queue(flow: Flow, workflow?: unknown, targets?: string[]): Promise<Queued> {
    return post<Queued>("/api/prompt", {
        prompt: flow,
        client_id: socket.id,
        extra_data: { preview_method: "auto", ...(workflow ? { extra_pnginfo: { workflow } } : {}) },
        ...(targets ? { partial_execution_targets: targets } : {}),
    });
}

// --- the socket ---

export type Message = { type: string; data: Record<string, Json> & { prompt_id?: string } };
type Listener = (m: Message) => void;
type Preview = (picture: Blob, about: { prompt_id?: string; node_id?: string }) => void;

/** One WebSocket for the page. It comes back by itself, with the same id, and then says "open" again. */
class Socket {
    readonly id = sessionStorage.getItem("limn.client") ?? crypto.randomUUID().replaceAll("-", "");
    private readonly listeners = new Set<Listener>();
    private readonly previews = new Set<Preview>();
    private wait = 300;
    private running: string | undefined;

    start(): void {
        sessionStorage.setItem("limn.client", this.id);
        const at = new URL(address("./ws", { clientId: this.id }), location.href);
        at.protocol = at.protocol.replace("http", "ws");
        const socket = new WebSocket(at);
        socket.binaryType = "arraybuffer";
        socket.onopen = () => {
            this.wait = 300;
            socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
            this.tell({ type: "open", data: {} });
        };
        socket.onmessage = event => (typeof event.data === "string" ? this.text(event.data) : this.binary(event.data as ArrayBuffer));
        socket.onclose = () => {
            this.tell({ type: "closed", data: {} });
            setTimeout(() => this.start(), this.wait);
            this.wait = Math.min(this.wait * 2, 5000);
        };
    }

    listen(listener: Listener): () => void {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
    }

    watch(preview: Preview): () => void {
        this.previews.add(preview);
        return () => this.previews.delete(preview);
    }

    private tell(message: Message): void {
        for (const listener of [...this.listeners]) listener(message);
    }

    private text(text: string): void {
        const message = JSON.parse(text) as Message;
        if (message.type === "execution_start") this.running = message.data.prompt_id;
        this.tell(message);
    }

    private binary(bytes: ArrayBuffer): void {
        const view = new DataView(bytes), kind = view.getUint32(0);
        if (kind === 1) {
            const type = view.getUint32(4) === 2 ? "image/png" : "image/jpeg";
            this.show(new Blob([bytes.slice(8)], { type }), { prompt_id: this.running });
        } else if (kind === 4) {
            const length = view.getUint32(4);
            const about = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
            this.show(new Blob([bytes.slice(8 + length)], { type: about.image_type }), about);
        }
    }

    private show(picture: Blob, about: { prompt_id?: string; node_id?: string }): void {
        for (const preview of [...this.previews]) preview(picture, about);
    }
}

export const socket = new Socket();
