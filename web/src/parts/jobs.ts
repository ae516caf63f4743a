// The jobs that this page queued, followed through the socket: state, progress, preview, pictures.

import { get, pictureAddress, post, queue, socket, type Flow, type Json, type Message, type Picture, type Queued } from "../api";

export type JobState = "waiting" | "drawing" | "done" | "failed" | "cancelled";

export class Job {
    state: JobState = "waiting";
    done = 0;
    total = 0;
    error = "";
    preview?: string; // address of the last preview
    pictures: Picture[] = [];
    texts: string[] = []; // what nodes say in words
    outputs: Record<string, Json[]>[] = []; // all that they show
    readonly began = Date.now();
    private over = 0;
    constructor(readonly id: string, readonly flow: Flow, private readonly changed: () => void) {
        following.add(this);
    }

    /** What the socket tells of this job. */
    hear(m: Message): void {
        const d = m.data as Record<string, any>;
        if (m.type === "execution_start") this.state = "drawing";
        else if (m.type === "progress") [this.done, this.total] = [d.value, d.max];
        else if (m.type === "executed") this.add(d.output);
        else if (m.type === "execution_error") this.end("failed", String(d.exception_message ?? ""));
        else if (m.type === "execution_interrupted") this.end("cancelled");
        else if (m.type === "execution_success") this.end("done");
        this.changed();
    }

    /** When it ended, or now. */
    get ended(): number {
        return this.over || Date.now();
    }

    /** Ends it, whether it runs or waits. */
    stop(): Promise<unknown> {
        return post(`/api/jobs/${this.id}/cancel`);
    }

    see(picture: Blob): void {
        this.forget();
        this.preview = URL.createObjectURL(picture);
        this.changed();
    }

    /** Asks the server, after a gap in what the socket said. */
    async look(): Promise<void> {
        const history = await get<Record<string, { outputs: Record<string, Json>; status: { completed: boolean; messages: [string, Record<string, Json>][] } }>>(`/api/history/${this.id}`);
        const found = history[this.id];
        if (!found) return;
        for (const output of Object.values(found.outputs)) this.add(output);
        const error = found.status.messages.find(m => m[0] === "execution_error");
        const stopped = found.status.messages.some(m => m[0] === "execution_interrupted");
        this.end(found.status.completed ? "done" : stopped ? "cancelled" : "failed", String(error?.[1].exception_message ?? ""));
        this.changed();
    }

    private add(output: Json): void {
        if (output && typeof output === "object" && !Array.isArray(output)) this.outputs.push(output as Record<string, Json[]>);
        const left = output as { images?: Picture[]; text?: string[] } | null;
        for (const p of left?.images ?? []) if (!this.pictures.some(q => pictureAddress(q) === pictureAddress(p))) this.pictures.push(p);
        for (const text of left?.text ?? []) if (!this.texts.includes(text)) this.texts.push(text);
    }

    private end(state: JobState, error = ""): void {
        if (this.state === "done" || this.state === "failed" || this.state === "cancelled") return;
        this.state = state;
        this.error = error;
        this.over = Date.now();
        this.forget();
        following.delete(this);
    }

    private forget(): void {
        if (this.preview) URL.revokeObjectURL(this.preview);
        this.preview = undefined;
    }
}

const following = new Set<Job>();

/** Messages that come before the answer to the request that made their job. */
let early: Message[] = [];
let asking = 0;

socket.listen(m => {
    if (m.type === "open") for (const job of [...following]) job.look().catch(() => undefined);
    const id = m.data.prompt_id;
    if (!id) return;
    const job = [...following].find(j => j.id === id);
    if (job) job.hear(m);
    else if (asking) early.push(m);
});
socket.watch((picture, about) => [...following].find(j => j.id === about.prompt_id)?.see(picture));

/** Queues a flow and follows it. `changed` is called whenever something is new. */
export async function start(flow: Flow, changed: (job: Job) => void, workflow?: unknown): Promise<{ job: Job; said: Queued }> {
    asking++;
    try {
        const said = await queue(flow, workflow);
        const job: Job = new Job(said.prompt_id, flow, () => changed(job));
        const missed = early.filter(m => m.data.prompt_id === job.id);
        for (const m of missed) job.hear(m);
        return { job, said };
    } finally {
        if (!--asking) early = [];
    }
}
