// Tables: rows in a grid, cards on a phone; of long ones only what is in sight is in the document.
import { Component, type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export interface Column<Row> {
  id: string;
  head: string;
  cell: (row: Row) => ComponentChildren;
  /** On the right, as numbers are. */
  end?: boolean;
}

interface Props<Row> {
  /** Class of its grid, see tables.css. */
  kind: string;
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  name: (row: Row) => string;
  /** Shown below a row. */
  below?: (row: Row) => ComponentChildren;
  /** Height of each row in pixels, wide and narrow: then only those in sight are drawn. */
  heights?: [number, number];
}

const SPARE = 12;
/** From so many rows on the layout leaves out those that are not in sight. */
const LONG = 30;
const narrow = matchMedia("(max-width: 760px)");

export function Table<Row>(props: Props<Row>) {
  const { kind, label, columns, rows, heights } = props;
  const body = useRef<HTMLDivElement>(null);
  const [from, to, height] = useWindow(body, rows.length, heights);
  const shown = heights ? rows.slice(from, to) : rows;
  return (
    <div class={`table ${kind}${heights ? " fixed" : rows.length > LONG ? " long" : ""}`} role="table" aria-label={label} aria-rowcount={rows.length + 1}>
      <div role="rowgroup" class="head">
        <div role="row" class="row">
          {columns.map((one) => (
            <span role="columnheader" key={one.id} class={`c-${one.id}${one.end ? " end" : ""}`}>
              {one.head || <span class="hidden">Actions</span>}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" class="body" ref={body}>
        {heights && from > 0 && <div class="spacer" role="presentation" style={{ height: `${from * height}px` }} />}
        {shown.map((row, i) => (
          <RowShown key={props.name(row)} columns={columns as Column<unknown>[]} row={row} place={from + i + 2}
            more={props.below?.(row) || null} />
        ))}
        {heights && to < rows.length && (
          <div class="spacer" role="presentation" style={{ height: `${(rows.length - to) * height}px` }} />
        )}
      </div>
    </div>
  );
}

interface RowProps<Row> {
  columns: Column<Row>[];
  row: Row;
  place: number;
  more: ComponentChildren;
}

/** A row: drawn again only when it is another one. What changes in it are components of its own. */
class RowShown<Row> extends Component<RowProps<Row>> {
  override shouldComponentUpdate(next: RowProps<Row>): boolean {
    const { columns, row, place, more } = this.props;
    return next.row !== row || next.columns !== columns || next.place !== place || next.more !== more;
  }

  override render() {
    const { columns, row, place, more } = this.props;
    return (
      <>
        <div role="row" class="row" aria-rowindex={place}>
          {columns.map((one) => (
            <span role="cell" key={one.id} class={`c-${one.id}${one.end ? " end" : ""}`} data-head={one.head}>
              {one.cell(row)}
            </span>
          ))}
        </div>
        {more && <div role="row" class="row below"><div role="cell" aria-colspan={columns.length}>{more}</div></div>}
      </>
    );
  }
}

function useWindow(
  body: { current: HTMLElement | null }, count: number, heights?: [number, number],
): [number, number, number] {
  const height = heights ? heights[narrow.matches ? 1 : 0] : 1;
  const [first, setFirst] = useState(0);
  useEffect(() => {
    if (!heights) return undefined;
    const look = () => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const at = Math.floor(-top / heights[narrow.matches ? 1 : 0]);
      setFirst(Math.max(0, Math.min(at, count)));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [count, heights?.[0]]);
  const inSight = Math.ceil(innerHeight / height);
  // Steps, so that a row scrolled by draws nothing anew.
  const from = Math.max(0, Math.floor((first - SPARE) / 4) * 4);
  return [from, Math.min(count, from + inSight + 2 * SPARE + 4), height];
}
