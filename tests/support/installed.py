"""Packages of data as they lie where they are installed, with rows of one's own."""

import zipfile


def install(site, module, tables):
    """A package whose import fails, with a folder `data` of CSV files or Parquet.

    Args:
        site: Folder of installed packages.
        module: Name of the package.
        tables: A frame for each file name, such as `planes.csv`, `flights.csv.zip`.
    """
    folder = site / module / "data"
    folder.mkdir(parents=True)
    (site / module / "__init__.py").write_text("raise ImportError('it was imported')")
    for name, frame in tables.items():
        if name.endswith(".parquet"):
            frame.to_parquet(folder / name, index=False)
        elif name.endswith(".zip"):
            with zipfile.ZipFile(folder / name, "w") as archive:
                archive.writestr(name.removesuffix(".zip"), frame.to_csv(index=False, na_rep="NA"))
        else:
            frame.to_csv(folder / name, index=False, na_rep="NA")
