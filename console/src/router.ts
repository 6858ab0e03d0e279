// Addresses: #/tasks?state=FAILURE, so that every view can be linked to.
import { signal } from "@preact/signals";

export interface Place { parts: string[]; query: URLSearchParams }

/** A part of an address; half of a character, which no address can have, becomes a mark. */
export function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function read(): Place {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

export const place = signal<Place>(read());
addEventListener("hashchange", () => (place.value = read()));

/** The address of a view. */
export function to(parts: string[], query?: Record<string, string> | URLSearchParams): string {
  const text = query ? new URLSearchParams(query).toString() : "";
  return `#/${parts.map(encoded).join("/")}${text ? `?${text}` : ""}`;
}

export function go(address: string): void {
  location.hash = address;
}

/** Change one filter of the address, in place. */
export function setQuery(changes: Record<string, string>): void {
  const query = new URLSearchParams(place.peek().query);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  history.replaceState(null, "", to(place.peek().parts, query));
  place.value = read();
}
